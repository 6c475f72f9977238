import { useEffect, useState } from 'react';

const SETTLE_MS = 350;

/**
 * What the engine says of something that is being typed, asked once typing pauses; `nothing` until then.
 * @param key of what is asked about: when it changes, it is asked anew
 * @param ask answers what went wrong, too; null: there is nothing to ask
 */
export function useAnswer<T>(key: string, nothing: T, ask: () => Promise<T> | null): T {
  const [answer, setAnswer] = useState(nothing);
  useEffect(() => {
    setAnswer(nothing);
    let current = true;
    const timer = setTimeout(() => void ask()?.then((found) => { if (current) setAnswer(found); }), SETTLE_MS);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [key]);
  return answer;
}
